// Command etcd runs etcd's own tests against ctlplane in etcd's place: the packages common and e2e of etcd's
// module of tests, with a script for the etcd binary that is `ctlplane etcd`.
//
// Each test runs in a process of its own, and what it leaves behind is ended with it. It passes, or it is in
// inapplicable.txt with the reason why it can't. With -etcd the tests run against that binary instead: what fails with
// etcd itself says nothing about ctlplane.
package main
