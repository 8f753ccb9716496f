package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/raftstore"
)

func newSnapshotStatus() *cobra.Command {
	var output string
	var skipHash bool
	command := &cobra.Command{
		Use:   "status FILE",
		Short: "Check a snapshot file, and show what it holds",
		Long: `Read a whole snapshot file of either format, check its checksums, and show its hash, revision, number of live keys, size and
version.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			print, ok := statusPrinters[output]
			if !ok {
				return fmt.Errorf("unknown output format %q: use simple, json, fields or table", output)
			}
			bar := newTransferBar(cmd, "checking")
			defer bar.end()
			status, err := raftstore.InspectBackup(cmd.Context(), args[0], skipHash, bar.tell)
			bar.end()
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return print(cmd.OutOrStdout(), status)
		},
	}
	command.Flags().StringVarP(&output, "write-out", "w", "simple", "output format: simple, json, fields, table")
	command.Flags().BoolVar(&skipHash, "skip-hash-check", false, "accept a database that was copied out of a data directory, which has no checksum")
	return command
}

var statusPrinters = map[string]func(io.Writer, raftstore.BackupStatus) error{
	"simple": func(w io.Writer, s raftstore.BackupStatus) error {
		_, err := fmt.Fprintln(w, strings.Join(statusRow(s), ", "))
		return err
	},
	"json":   func(w io.Writer, s raftstore.BackupStatus) error { return json.NewEncoder(w).Encode(s) },
	"fields": printStatusFields,
	"table":  printStatusTable,
}

var statusColumns = []string{"hash", "revision", "total keys", "total size", "storage version", "format"}

func statusRow(s raftstore.BackupStatus) []string {
	return []string{
		fmt.Sprintf("%x", s.Hash), fmt.Sprint(s.Revision), fmt.Sprint(s.TotalKey),
		humanize.Bytes(uint64(s.TotalSize)), s.Version, string(s.Format),
	}
}

func printStatusFields(w io.Writer, s raftstore.BackupStatus) error {
	_, err := fmt.Fprintf(w, "\"Hash\" : %d\n\"Revision\" : %d\n\"Keys\" : %d\n\"Size\" : %d\n\"Version\" : %q\n\"Format\" : %q\n",
		s.Hash, s.Revision, s.TotalKey, s.TotalSize, s.Version, s.Format)
	return err
}

func printStatusTable(w io.Writer, s raftstore.BackupStatus) error {
	row := statusRow(s)
	var line, head, body strings.Builder
	for i, name := range statusColumns {
		width := max(len(name), len(row[i]))
		line.WriteString("+" + strings.Repeat("-", width+2))
		fmt.Fprintf(&head, "| %-*s ", width, strings.ToUpper(name))
		fmt.Fprintf(&body, "| %-*s ", width, row[i])
	}
	_, err := fmt.Fprintf(w, "%[1]s+\n%[2]s|\n%[1]s+\n%[3]s|\n%[1]s+\n", line.String(), head.String(), body.String())
	return err
}
