// Package files makes TLS configurations from the certificates that a user brings, as files: on the client port
// and between members, in the place of the cluster's own authority. It follows the files while it serves: a
// certificate, a key or a revocation list that was replaced counts from the next handshake on, without a restart.
package files
