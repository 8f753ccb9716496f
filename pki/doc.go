// Package pki is the cluster's trust: its certificate authority, the certificates of masters, nodes and
// administrators, the tokens that let a machine in, and the handshake in which a token is proved.
//
// One authority signs everything. Who a caller is stands in the subject of its certificate:
//
//	master, to its peers      CN=<member name>         O=ctlplane:peers
//	administrator             CN=admin                 O=system:masters
//	API server, to an agent   CN=ctlplane:apiserver    O=system:masters
//	node                      CN=system:node:<name>    O=system:nodes
//
// The private keys and tokens that this package writes are readable by their owner alone, and are
// written so that a crash leaves either the old file or the new one.
package pki
