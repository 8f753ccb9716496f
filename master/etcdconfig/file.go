package etcdconfig

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// The sections of the file, each with what its keys are called as flags.
var sections = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file", "client-key-file": "client-key-file",
		"client-cert-auth": "client-cert-auth", "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
		"allowed-cn": "", "allowed-hostname": "client-cert-allowed-hostname", "skip-client-san-verification": "",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
		"trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls", "allowed-cn": "peer-cert-allowed-cn",
		"allowed-hostname": "peer-cert-allowed-hostname", "skip-client-san-verification": "peer-skip-client-san-verification",
	},
	"discovery-config": {
		"token": "discovery-token", "discovery-token": "discovery-token", "discovery-endpoints": "discovery-endpoints",
		"client.endpoints": "discovery-endpoints", "client.dial-timeout": "discovery-dial-timeout",
		"client.request-timeout": "discovery-request-timeout", "client.keepalive-time": "discovery-keepalive-time",
		"client.keepalive-timeout": "discovery-keepalive-timeout", "client.secure.cert": "discovery-cert",
		"client.secure.key": "discovery-key", "client.secure.cacert": "discovery-cacert",
		"client.secure.insecure-transport":       "discovery-insecure-transport",
		"client.secure.insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
		"client.auth.username":                   "discovery-user", "client.auth.password": "discovery-password",
	},
	"socket-options": {"reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address"},
}

// parseFile reads all settings from a file. others tells that there are flags or variables beside it.
func parseFile(path string, others bool) (*Settings, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config-file: %w", err)
	}
	s := &Settings{byFile: true, resolver: net.DefaultResolver, given: map[string]bool{}}
	if others {
		s.warn("flags and ETCD_ variables are ignored: " + path + " is all that counts")
	}
	if err := s.readFile(content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// readFile takes YAML, or JSON, with the names of flags as keys.
func (s *Settings) readFile(content []byte) error {
	asJSON, err := yaml.YAMLToJSON(content)
	if err != nil {
		return err
	}
	var keys map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(asJSON)))
	decoder.UseNumber() // so that large ones stay what they are
	if err := decoder.Decode(&keys); err != nil {
		return fmt.Errorf("it is no list of settings, such as name: value: %w", err)
	}
	t := newTable(s)
	for _, key := range sortedKeys(keys) {
		names, section := sections[key]
		if !section {
			if o, _ := t.option(key); o.now != "" && keys[o.now] != nil {
				s.warnOfBoth(o)
				continue
			}
			if err := s.takeKey(t, key, key, keys[key]); err != nil {
				return err
			}
			continue
		}
		values, ok := keys[key].(map[string]any)
		if !ok && keys[key] != nil {
			return fmt.Errorf("%s is no section with settings of its own", key)
		}
		values = flatten(values)
		for _, inner := range sortedKeys(values) {
			name, known := names[inner]
			if known && name == "" { // etcd reads it, and does nothing with it
				s.warn(fmt.Sprintf("%s.%s has no effect", key, inner))
				continue
			}
			if !known {
				name = key + "." + inner
			}
			if err := s.takeKey(t, name, key+"."+inner, values[inner]); err != nil {
				return err
			}
		}
	}
	return s.finish(t)
}

// flatten makes a.b: c of a section a with a key b: c.
func flatten(values map[string]any) map[string]any {
	flat := map[string]any{}
	for key, value := range values {
		inner, section := value.(map[string]any)
		if !section {
			flat[key] = value
			continue
		}
		for name, value := range flatten(inner) {
			flat[key+"."+name] = value
		}
	}
	return flat
}

// takeKey sets one flag from the file. etcd ignores keys that it does not know, and so they are here, with a warning.
func (s *Settings) takeKey(t *table, name, key string, value any) error {
	if _, known := t.option(name); !known || name == "config-file" || name == "version" {
		hint := ""
		if meant := nearest(name, t.names()); meant != "" && !known {
			hint = fmt.Sprintf("; did you mean %s?", meant)
		}
		s.warn(fmt.Sprintf("%s in the configuration file is ignored: etcd has no such setting%s", key, hint))
		return nil
	}
	text, err := settingText(t.set.Lookup(name).Value, value)
	if err == nil && value != nil {
		err = t.set.Set(name, text)
	}
	if err != nil {
		return fmt.Errorf("invalid value %v for %s: %w", value, key, err)
	}
	s.given[name] = value != nil && text != ""
	return nil
}

// settingText is a value of the file as a flag would have it. Times are numbers of nanoseconds in etcd's files; text
// such as 10m is taken as well.
func settingText(flagValue any, value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case json.Number:
		if getter, ok := flagValue.(interface{ Get() any }); ok {
			if _, isTime := getter.Get().(time.Duration); isTime {
				nanoseconds, err := v.Int64()
				return time.Duration(nanoseconds).String(), err
			}
		}
		return v.String(), nil
	case []any:
		entries := make([]string, len(v))
		for i, entry := range v {
			var err error
			if entries[i], err = settingText(nil, entry); err != nil {
				return "", err
			}
		}
		return strings.Join(entries, ","), nil
	}
	return "", fmt.Errorf("it is neither text nor a number nor a list")
}
