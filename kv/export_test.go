package kv

// What package kv_test has of the insides: it tests the store with package offline, which imports this one.
var (
	CompareStores   = compareStores
	GenCommand      = genCommand
	CompareImported = &compareImported
)

// compareImported compares a store with what becomes of it as etcd's file in dir, imported with options o.
var compareImported func(t failer, s *Store, dir string, o Options)

// Failer is a testing.T or a rapid.T.
type Failer = failer
