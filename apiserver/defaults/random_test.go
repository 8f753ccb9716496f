package defaults

import (
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/resource"
)

// TestIdempotent defaults objects of random content twice, also after they were stored and read: the
// second time must find nothing to do, or every read would look like a change.
func TestIdempotent(t *testing.T) {
	for seed := range int64(60) {
		random := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), scheme.Codecs)
		for _, info := range resource.All() {
			obj := info.New()
			random.Fill(obj)
			Apply(obj)
			again := obj.DeepCopyObject()
			Apply(again)
			if !equality.Semantic.DeepEqual(obj, again) {
				t.Fatalf("%s of seed %d changes again", info.Kind, seed)
			}
			stored := roundTrip(t, info, obj)
			again = stored.DeepCopyObject()
			Apply(again)
			if !equality.Semantic.DeepEqual(stored, again) {
				t.Fatalf("%s of seed %d changes again after it was stored", info.Kind, seed)
			}
		}
	}
}

func roundTrip(t *testing.T, info *resource.Info, obj runtime.Object) runtime.Object {
	t.Helper()
	encoded, err := runtime.Encode(scheme.Codecs.LegacyCodec(info.GroupVersion()), obj)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), encoded)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}
