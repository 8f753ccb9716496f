// Package layouttest has keys for tests of what stores keys.
package layouttest

// Keys are few, so that operations on them meet, and those whose encodings could be mistaken for one another.
var Keys = [][]byte{
	{0}, {0, 0}, {0, 0x09}, {'a'}, []byte("a\x00"), []byte("a\x00\x00"), []byte("a\x00\x08"), []byte("a\x00\xff\xff\xff\xff\xff\xff\xff\xfd\x09"),
	[]byte("a\x01"), []byte("aa"), []byte("ab"), []byte("b"), []byte("b\x0c"), []byte("k"), []byte("/registry/pods/x"), {0xff}, {0xff, 0xff},
}
