package web

import (
	"encoding/json"
	"expvar"
	"net/http"
)

// serveVars tells the variables that the process publishes, as etcd does, but for the command line: a token of the cluster may
// be in it.
func serveVars(w http.ResponseWriter, _ *http.Request) {
	vars := map[string]json.RawMessage{}
	expvar.Do(func(v expvar.KeyValue) {
		if v.Key != "cmdline" {
			vars[v.Key] = json.RawMessage(v.Value.String())
		}
	})
	writeJSON(w, http.StatusOK, vars)
}
