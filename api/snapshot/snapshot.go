// Package snapshot is what client and server agree on about snapshots of the store, beside etcd's own
// Maintenance.Snapshot.
package snapshot

// FormatKey is the metadata key by which a caller of Maintenance.Snapshot asks for a format. Without it, and from
// servers that don't know it, etcd's comes.
const FormatKey = "ctlplane-snapshot-format"

// The formats.
const (
	// FormatEtcd is etcd's database file.
	FormatEtcd = "etcd"
	// FormatNative is an archive of the store's own files: small, and sent as they lie on the disk.
	FormatNative = "ctlplane"
)

// ChecksumSize is the size of the SHA-256 that stands behind every snapshot, in bytes.
const ChecksumSize = 32
