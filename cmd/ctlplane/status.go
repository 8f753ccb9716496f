package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// clusterStatus is what `ctlplane status` prints.
type clusterStatus struct {
	Masters []masterStatus `json:"masters"`
	Nodes   []nodeStatus   `json:"nodes"`
	// Problem says why nodes could not be listed.
	Problem string `json:"problem,omitempty"`
}

type masterStatus struct {
	Name      string  `json:"name"`
	ID        string  `json:"id"`
	Endpoint  string  `json:"endpoint"`
	Role      string  `json:"role"` // leader, follower, learner or unreachable
	Version   string  `json:"version,omitempty"`
	Term      uint64  `json:"term,omitempty"`
	Index     uint64  `json:"appliedIndex,omitempty"`
	SizeBytes int64   `json:"sizeBytes,omitempty"`
	LatencyMS float64 `json:"latencyMs,omitempty"`
	Problem   string  `json:"problem,omitempty"`
}

type nodeStatus struct {
	Name  string `json:"name"`
	Ready string `json:"ready"` // True, False or Unknown
}

func newStatus() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:     "status",
		Short:   "Show the state of the masters and nodes",
		GroupID: groupCluster,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := readStatus(cmd)
			if err != nil {
				return err
			}
			return s.print(cmd.OutOrStdout(), output)
		},
	}
	addKubeconfigFlag(command)
	command.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
	return command
}

// statusPatience is how long a master may take to answer before it counts as unreachable.
const statusPatience = 2 * time.Second

func readStatus(cmd *cobra.Command) (*clusterStatus, error) {
	access, conn, err := connectStore(cmd)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*statusPatience)
	defer cancel()
	members, err := conn.KV().MemberList(ctx, clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("no master answers at %s: %w", strings.Join(access.Endpoints, ", "), err)
	}
	s := &clusterStatus{Masters: make([]masterStatus, len(members.Members))}
	var wait sync.WaitGroup
	for i, member := range members.Members {
		m := &s.Masters[i]
		m.Name, m.ID, m.Role = member.Name, fmt.Sprintf("%x", member.ID), "unreachable"
		if len(member.ClientURLs) == 0 {
			m.Problem = "it has not told where its client port is"
			continue
		}
		m.Endpoint = member.ClientURLs[0]
		wait.Go(func() { m.ask(ctx, conn.KV(), member.ID) })
	}
	wait.Wait()
	slices.SortFunc(s.Masters, func(a, b masterStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.Nodes, err = readNodes(ctx, cmd)
	if err != nil {
		s.Problem = "nodes: " + err.Error()
	}
	return s, nil
}

func (m *masterStatus) ask(ctx context.Context, kv *clientv3.Client, id uint64) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	begin := time.Now()
	answer, err := kv.Status(ctx, m.Endpoint)
	if err != nil {
		m.Problem = err.Error()
		return
	}
	m.LatencyMS = float64(time.Since(begin).Microseconds()) / 1000
	m.Version, m.Term, m.Index, m.SizeBytes = answer.Version, answer.RaftTerm, answer.RaftAppliedIndex, answer.DbSize
	switch {
	case answer.IsLearner:
		m.Role = "learner"
	case answer.Leader == id:
		m.Role = "leader"
	default:
		m.Role = "follower"
	}
}

func readNodes(ctx context.Context, cmd *cobra.Command) ([]nodeStatus, error) {
	_, api, err := connectAPI(cmd)
	if err != nil {
		return nil, err
	}
	list, err := api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	nodes := []nodeStatus{}
	for _, node := range list.Items {
		n := nodeStatus{Name: node.Name, Ready: string(corev1.ConditionUnknown)}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				n.Ready = string(condition.Status)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (s *clusterStatus) print(out io.Writer, format string) error {
	if format == "" {
		return s.printTables(out)
	}
	return printStructured(out, s, format)
}

// printStructured prints what programs read.
func printStructured(out io.Writer, what any, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(what)
	case "yaml":
		content, err := yaml.Marshal(what)
		if err != nil {
			return err
		}
		_, err = out.Write(content)
		return err
	default:
		return fmt.Errorf("unknown output format %q: use json or yaml", format)
	}
}

func (s *clusterStatus) printTables(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(table, "MASTER\tID\tENDPOINT\tROLE\tTERM\tINDEX\tSIZE\tLATENCY\tPROBLEM")
	for _, m := range s.Masters {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%.1f MB\t%.1f ms\t%s\n",
			m.Name, m.ID, m.Endpoint, m.Role, m.Term, m.Index, float64(m.SizeBytes)/1e6, m.LatencyMS, m.Problem)
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "NODE\tREADY")
	for _, n := range s.Nodes {
		fmt.Fprintf(table, "%s\t%s\n", n.Name, n.Ready)
	}
	if s.Problem != "" {
		fmt.Fprintln(table, s.Problem)
	}
	return table.Flush()
}
