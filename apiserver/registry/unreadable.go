package registry

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// unreadable are the stored objects of a kind that can't be decoded, by key. Nobody knows what they are, so that they are neither
// shown nor taken for deleted: whoever asks for one, or for objects that it may be among, is told. A controller that took one for
// gone would delete what belongs to it. The cache's lock guards them.
type unreadable map[string]error

// noteUnreadable takes an object in that can't be decoded.
func (c *cache) noteUnreadable(w write) {
	if was, ok := c.items.Delete(&entry{key: w.key}); ok {
		c.reindex(was, nil)
	}
	c.unreadable[w.key] = w.unreadable
	// What the object was, and is, can't be told to those who watch: they have to begin anew, and are told why they can't.
	c.view = nil
	c.recent.clear()
	c.since = w.revision
	c.watchers.expireAll()
}

// checkReadable returns an error if an object that a selection may have can't be decoded; mu is held.
func (c *cache) checkReadable(s selection) error {
	name, one := s.fields.RequiresExactMatch(nameField)
	for key, err := range c.unreadable {
		if strings.HasPrefix(key, s.prefix()) && (!one || key[strings.LastIndexByte(key, '/')+1:] == name) {
			return c.kind.notReadable(key, err)
		}
	}
	return nil
}

// getReadable is get, and an error for an object that can't be decoded.
func (c *cache) getReadable(key string) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err, ok := c.unreadable[key]; ok {
		return nil, c.kind.notReadable(key, err)
	}
	e, _ := c.items.Get(&entry{key: key})
	return e, nil
}

func (k *kind) notReadable(key string, err error) error {
	return apierrors.NewInternalError(fmt.Errorf("%s %q is stored in a form that can't be read: write or delete the key %q in the store: %w",
		k.Resource, key, k.storeKey(key), err))
}
