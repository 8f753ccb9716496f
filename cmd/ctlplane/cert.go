package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctlplane/ctlplane/pki"
)

func newCert() *cobra.Command {
	cert := &cobra.Command{
		Use:     "cert",
		Short:   "Show this machine's certificates",
		GroupID: groupCluster,
	}
	cert.AddCommand(newCertStatus())
	return cert
}

func newCertStatus() *cobra.Command {
	var output string
	status := &cobra.Command{
		Use:   "status",
		Short: "List the certificates of this machine's master or node, and when they end",
		Long: `List the certificates of this machine's master or node, and when they end.

They are those in the data directory. A master or node that runs renews them by itself, from the time in the column RENEWED on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := filepath.Join(dataDir(cmd), "pki")
			listed, err := pki.List(dir)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s holds no certificates: is there a master or a node with this --data-dir?", dir)
			}
			if err != nil {
				return err
			}
			if output != "" {
				return printStructured(cmd.OutOrStdout(), listed, output)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 3, ' ', 0)
			fmt.Fprintln(table, "NAME\tSUBJECT\tENDS\tRENEWED")
			for _, c := range listed {
				renewed := "never"
				if !c.Renews.IsZero() {
					renewed = c.Renews.UTC().Format(time.RFC3339)
				}
				ends := c.Ends.UTC().Format(time.RFC3339)
				if time.Now().After(c.Ends) {
					ends += " (ended)"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.Name, c.Subject, ends, renewed)
			}
			return table.Flush()
		},
	}
	status.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
	return status
}
