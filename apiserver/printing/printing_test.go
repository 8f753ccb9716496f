package printing

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/api/resource"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata/*.txt with what is printed now")

// now is when the test's tables are made.
var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestGolden prints the objects of testdata/<resource>.yaml with kubectl's own printer, as
// kubectl get -o wide does, and compares with testdata/<resource>.txt.
func TestGolden(t *testing.T) {
	printer := New(clocktesting.NewFakePassiveClock(now))
	for _, info := range resource.All() {
		t.Run(info.Resource, func(t *testing.T) {
			table, err := printer.Table(info, readObjects(t, info.Resource), metav1.IncludeMetadata)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := printers.NewTablePrinter(printers.PrintOptions{Wide: true}).PrintObj(table, &out); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", info.Resource+".txt")
			if *rewrite {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

func readObjects(t *testing.T, name string) []runtime.Object {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var objs []runtime.Object
	for _, document := range strings.Split(string(content), "\n---\n") {
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		objs = append(objs, obj)
	}
	return objs
}

// TestColumns compares the columns with those that kubectl get -o wide of Kubernetes 1.33 has; those
// after the bar are shown only by -o wide.
func TestColumns(t *testing.T) {
	want := map[string]string{
		"namespaces":      "Name Status Age |",
		"nodes":           "Name Status Roles Age Version | Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
		"pods":            "Name Ready Status Restarts Age | IP Node Nominated_Node Readiness_Gates",
		"services":        "Name Type Cluster-IP External-IP Port(s) Age | Selector",
		"configmaps":      "Name Data Age |",
		"secrets":         "Name Type Data Age |",
		"serviceaccounts": "Name Secrets Age |",
		"events":          "Last_Seen Type Reason Object Message | Subobject Source First_Seen Count Name",
		"deployments":     "Name Ready Up-to-date Available Age | Containers Images Selector",
		"replicasets":     "Name Desired Current Ready Age | Containers Images Selector",
		"leases":          "Name Holder Age |",
		"endpointslices":  "Name AddressType Ports Endpoints Age |",
	}
	for _, info := range resource.All() {
		var narrow, broad []string
		for _, column := range Columns(info) {
			name := strings.ReplaceAll(column.Name, " ", "_")
			if column.Description == "" {
				t.Errorf("%s: column %s is not described", info.Resource, column.Name)
			}
			if column.Priority == 0 {
				narrow = append(narrow, name)
			} else {
				broad = append(broad, name)
			}
		}
		got := strings.TrimSpace(strings.Join(narrow, " ") + " | " + strings.Join(broad, " "))
		if got != want[info.Resource] {
			t.Errorf("%s: %s, want %s", info.Resource, got, want[info.Resource])
		}
	}
}

// TestPlain shows a kind that nobody wrote columns for.
func TestPlain(t *testing.T) {
	info := *resource.All()[0]
	info.Resource = "gadgets"
	created := metav1.NewTime(now.Add(-90 * time.Second))
	table, err := New(clocktesting.NewFakePassiveClock(now)).Table(&info,
		[]runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a", CreationTimestamp: created}}}, metav1.IncludeNone)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.ColumnDefinitions) != 2 || table.Rows[0].Cells[0] != "a" || table.Rows[0].Cells[1] != "90s" {
		t.Errorf("got %+v", table)
	}
}

// TestInclude looks at what rows carry, and that the shared object is left as it was.
func TestInclude(t *testing.T) {
	info, _ := resource.For(corev1.SchemeGroupVersion.WithResource("pods"))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "b"}}}
	for include, want := range map[metav1.IncludeObjectPolicy]string{
		metav1.IncludeNone:     `null`,
		metav1.IncludeMetadata: `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"web","labels":{"a":"b"}}}`,
		"":                     `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"web","labels":{"a":"b"}}}`,
		metav1.IncludeObject:   `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","labels":{"a":"b"}},"spec":{"containers":null},"status":{}}`,
	} {
		table, err := New(clocktesting.NewFakePassiveClock(now)).Table(info, []runtime.Object{pod}, include)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(table.Rows[0].Object)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%q: %s, want %s", include, got, want)
		}
	}
	if pod.Kind != "" {
		t.Error("the object was changed")
	}
}

func TestErrors(t *testing.T) {
	info, _ := resource.For(corev1.SchemeGroupVersion.WithResource("pods"))
	printer := New(clocktesting.NewFakePassiveClock(now))
	if _, err := printer.Table(info, []runtime.Object{&corev1.Node{}}, ""); err == nil {
		t.Error("a node went into a table of pods")
	}
	if _, err := printer.Table(info, []runtime.Object{&corev1.Pod{}}, "Everything"); err == nil {
		t.Error("an unknown include policy was taken")
	}
}

// TestEmpty makes a table without rows, which clients expect to be a list and not null.
func TestEmpty(t *testing.T) {
	table, err := New(clocktesting.NewFakePassiveClock(now)).Table(resource.All()[0], nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if encoded, _ := json.Marshal(table); !bytes.Contains(encoded, []byte(`"rows":[]`)) {
		t.Errorf("got %s", encoded)
	}
}

// TestRandom shows objects of random content: there is a cell for every column, and no panic.
func TestRandom(t *testing.T) {
	printer := New(clocktesting.NewFakePassiveClock(now))
	for seed := range int64(40) {
		random := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), scheme.Codecs)
		for _, info := range resource.All() {
			obj := info.New()
			random.Fill(obj)
			table, err := printer.Table(info, []runtime.Object{obj}, metav1.IncludeObject)
			if err != nil {
				t.Fatal(err)
			}
			if cells := table.Rows[0].Cells; len(cells) != len(table.ColumnDefinitions) {
				t.Fatalf("%s: %d cells for %d columns", info.Resource, len(cells), len(table.ColumnDefinitions))
			}
			if _, err := json.Marshal(table); err != nil {
				t.Fatal(err)
			}
		}
	}
}
