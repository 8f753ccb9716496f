package validation

import (
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

// TestRandom validates objects of random content, defaulted and not: whatever a client sends, there is
// an answer and no panic, and the same one every time.
func TestRandom(t *testing.T) {
	for seed := range int64(60) {
		random := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), scheme.Codecs)
		for _, info := range resource.All() {
			obj, old := info.New(), info.New()
			random.Fill(obj)
			random.Fill(old)
			first := Create(obj).ToAggregate()
			if again := Create(obj).ToAggregate(); (first == nil) != (again == nil) || first != nil && first.Error() != again.Error() {
				t.Fatalf("%s of seed %d: two answers:\n%v\n%v", info.Kind, seed, first, again)
			}
			Update(obj, old)
			UpdateStatus(obj, old)
			defaults.Apply(obj)
			defaults.Apply(old)
			Create(obj)
			Update(obj, old)
			UpdateStatus(obj, old)
			// What is different is found also where most is the same.
			Update(obj, obj.DeepCopyObject())
		}
	}
}
