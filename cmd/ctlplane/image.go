package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ctlplane/ctlplane/agent/image"
	"github.com/ctlplane/ctlplane/agent/machine"
)

func newImage() *cobra.Command {
	command := &cobra.Command{
		Use:     "image",
		Short:   "Load and list the images of this machine's node",
		GroupID: groupCluster,
	}
	command.AddCommand(newImageLoad(), newImageList())
	return command
}

func newImageLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE",
		Short: "Load the images of an archive: an OCI layout in a tar file, or what docker save writes",
		Long: `Load the images of an archive into this machine's node. The archive is an OCI layout in a tar file, or what docker save writes,
compressed with gzip or not. - reads it from standard input. The node may be running, or not have joined yet: it finds the images
when it does. On a machine with several nodes, --data-dir says which one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			archive := cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				archive = file
			}
			images, err := imagesToCome(cmd)
			if err != nil {
				return err
			}
			loaded, err := images.Load(cmd.Context(), archive)
			for _, img := range loaded {
				fmt.Fprintln(cmd.OutOrStdout(), "loaded", nameOf(img))
			}
			return err
		},
	}
}

func newImageList() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "list",
		Short: "List the images that this machine's node has",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			images, err := nodeImages(cmd)
			if err != nil {
				return err
			}
			return printImages(cmd.OutOrStdout(), images.List(), output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
	return command
}

// nodeImages opens the images of the node that a command means.
func nodeImages(cmd *cobra.Command) (*image.Store, error) {
	images, err := machine.Images(dataDir(cmd), slog.Default())
	if errors.Is(err, machine.ErrNoNode) {
		return nil, noNode(cmd)
	}
	return images, err
}

func noNode(cmd *cobra.Command) error {
	return fmt.Errorf("this machine is no node: %[1]s holds no node's data; make it one with `%[2]s join`, or name the node's directory with --data-dir; a node of `%[2]s dev` has its own, such as %[3]s",
		dataDir(cmd), cmd.Root().Name(), filepath.Join(devDir(cmd), "n1"))
}

// imagesToCome opens the images of the node that a command means, and makes their place where it has not joined yet. Where
// `ctlplane dev` has nodes, one of those is meant by somebody who names no node, and is asked for.
func imagesToCome(cmd *cobra.Command) (*image.Store, error) {
	dir := dataDir(cmd)
	images, err := machine.Images(dir, slog.Default())
	if !errors.Is(err, machine.ErrNoNode) {
		return images, err
	}
	if _, err := os.Stat(devDir(cmd)); err == nil {
		return nil, noNode(cmd)
	}
	if err := checkDataDir(dir); err != nil {
		return nil, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "this machine is no node yet: the images wait in %s until it joins\n", dir)
	return machine.PrepareImages(dir, slog.Default())
}

func printImages(out io.Writer, images []image.Image, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(images)
	case "yaml":
		content, err := yaml.Marshal(images)
		if err != nil {
			return err
		}
		_, err = out.Write(content)
		return err
	case "":
		table := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
		fmt.Fprintln(table, "IMAGE\tID\tSIZE")
		for _, img := range images {
			fmt.Fprintf(table, "%s\t%s\t%.1f MB\n", nameOf(img), strings.TrimPrefix(img.ID, "sha256:")[:12], float64(img.Size)/1e6)
		}
		return table.Flush()
	default:
		return fmt.Errorf("unknown output format %q: use json or yaml", format)
	}
}

// nameOf is what people call an image.
func nameOf(img image.Image) string {
	if len(img.Names) > 0 {
		return strings.Join(img.Names, ",")
	}
	return img.ID
}
