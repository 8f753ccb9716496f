package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/blang/semver/v4"
	"github.com/dustin/go-humanize"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/ctlplane/ctlplane/master"
)

// oldestVersion is the first etcd that tells by a number whether users and roles have changed.
var oldestVersion = semver.MustParse("3.5.0")

// memberPatience bounds the question to a member that may be gone.
const memberPatience = 3 * time.Second

// Plan is what a migration finds, and would do.
type Plan struct {
	Endpoints []string
	Cluster   uint64
	Members   []PlannedMember
	Revision  int64
	Compacted int64 // 0: nothing
	Keys      int64
	Leases    int
	// Size is the etcd's file, InUse what is used of it, in bytes. Free is what the data directory has room for.
	Size, InUse, Free int64
	AuthEnabled       bool
	Users, Roles      int
	DataDir           string
	// Obstacles are what the migration is refused for; Warnings what is not taken over, or should be known.
	Obstacles, Warnings []string
}

// PlannedMember is a member of the etcd.
type PlannedMember struct{ Name, URLs, Version string }

// Plan looks at the etcd, and at where it is to go. It changes nothing.
func (s *Source) Plan(ctx context.Context, target master.Config) (*Plan, error) {
	p := &Plan{Endpoints: s.endpoints, DataDir: target.DataDir}
	for _, look := range []func(context.Context, *Source, master.Config) error{p.lookAtUsers, p.lookAtServer, p.lookAtMembers, p.lookAtData, p.lookAtRoom} {
		err := look(ctx, s, target)
		if errors.Is(err, rpctypes.ErrUserEmpty) || errors.Is(err, rpctypes.ErrPermissionDenied) {
			p.obstacle("users are enabled: give a user with the role root (--user root:PASSWORD)")
			return p, nil // nothing else can be asked
		}
		if err != nil {
			return nil, fmt.Errorf("look at the etcd at %s: %w", strings.Join(s.endpoints, ", "), err)
		}
	}
	return p, nil
}

// Refusal is the obstacles as an error, nil if there are none.
func (p *Plan) Refusal() error {
	if len(p.Obstacles) == 0 {
		return nil
	}
	return errors.New("the etcd can't be moved: " + strings.Join(p.Obstacles, "; "))
}

func (p *Plan) obstacle(format string, args ...any) {
	p.Obstacles = append(p.Obstacles, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Plan) lookAtServer(ctx context.Context, s *Source, target master.Config) error {
	status, err := s.admin.Status(ctx, s.endpoints[s.asked])
	if err != nil {
		return err
	}
	p.Cluster, p.Size, p.InUse = status.Header.ClusterId, status.DbSize, status.DbSizeInUse
	if status.IsLearner {
		p.obstacle("%s is a learner: name a voting member", s.endpoints[s.asked])
	}
	if quota := target.Member.QuotaBytes; quota > 0 && p.InUse > quota {
		p.warn("--quota-backend-bytes is %s, and etcd uses %s", humanize.Bytes(uint64(quota)), humanize.Bytes(uint64(p.InUse)))
	}
	alarms, err := s.admin.AlarmList(ctx)
	if err != nil {
		return err
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm == pb.AlarmType_CORRUPT {
			p.obstacle("member %x has the alarm CORRUPT: its data can't be trusted", alarm.MemberID)
			continue
		}
		p.warn("alarm %s of member %x is not taken over", alarm.Alarm, alarm.MemberID)
	}
	return nil
}

func (p *Plan) lookAtMembers(ctx context.Context, s *Source, _ master.Config) error {
	list, err := s.admin.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range list.Members {
		m := PlannedMember{Name: member.Name, URLs: strings.Join(member.ClientURLs, ","), Version: "does not answer"}
		for _, url := range member.ClientURLs {
			if version, ok := s.version(ctx, url); ok {
				m.Version = version
				break
			}
		}
		if v, err := semver.Parse(m.Version); err == nil && v.LT(oldestVersion) {
			p.obstacle("member %s is etcd %s: 3.5 is the oldest that can be moved; upgrade it first", member.Name, m.Version)
		}
		p.Members = append(p.Members, m)
	}
	return nil
}

// version is that of the member at a URL, if it answers.
func (s *Source) version(ctx context.Context, url string) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	status, err := s.admin.Status(ctx, url)
	if err != nil {
		return "", false
	}
	return status.Version, true
}

func (p *Plan) lookAtUsers(ctx context.Context, s *Source, _ master.Config) error {
	auth, err := s.auth(ctx)
	if err != nil {
		return err
	}
	p.AuthEnabled = auth.enabled
	users, err := s.admin.UserList(ctx)
	if err != nil {
		return err
	}
	roles, err := s.admin.RoleList(ctx)
	if err != nil {
		return err
	}
	p.Users, p.Roles = len(users.Users), len(roles.Roles)
	if p.AuthEnabled {
		p.warn("clients log in again after the step, as after any change of servers, which etcd's client does by itself")
		p.warn("clients that are users by their certificate's common name can't be served before the step: they must go on at the old endpoints until then")
	}
	return nil
}

func (p *Plan) lookAtData(ctx context.Context, s *Source, _ master.Config) error {
	at, err := s.count(ctx)
	if err != nil {
		return err
	}
	p.Revision, p.Keys = at.revision, at.keys
	if p.Compacted, err = s.compacted(ctx); err != nil {
		return err
	}
	leases, err := s.admin.Leases(ctx)
	if err != nil {
		return err
	}
	p.Leases = len(leases.Leases)
	return nil
}

// lookAtRoom compares what is needed, which is the snapshot and the copy beside it, with what there is.
func (p *Plan) lookAtRoom(_ context.Context, _ *Source, target master.Config) error {
	dir := target.DataDir
	for {
		var fs syscall.Statfs_t
		err := syscall.Statfs(dir, &fs)
		if err == nil {
			p.Free = int64(fs.Bavail) * fs.Bsize
			break
		}
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return err
		}
		dir = filepath.Dir(dir)
	}
	if need := p.Size + p.InUse; p.Free < need {
		p.obstacle("%s has room for %s, and the copy needs %s", target.DataDir, humanize.Bytes(uint64(p.Free)), humanize.Bytes(uint64(need)))
	}
	return nil
}

// Print writes the plan for a person.
func (p *Plan) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "from      cluster %x at %s\n", p.Cluster, strings.Join(p.Endpoints, ", "))
	for _, m := range p.Members {
		fmt.Fprintf(&b, "          member %s at %s: %s\n", m.Name, m.URLs, m.Version)
	}
	fmt.Fprintf(&b, "data      %d keys at revision %d, compacted at %d; %d leases\n", p.Keys, p.Revision, p.Compacted, p.Leases)
	fmt.Fprintf(&b, "users     enabled: %t; %d users, %d roles\n", p.AuthEnabled, p.Users, p.Roles)
	fmt.Fprintf(&b, "size      a snapshot of %s (%s of it in use)\n", humanize.Bytes(uint64(p.Size)), humanize.Bytes(uint64(p.InUse)))
	fmt.Fprintf(&b, "to        %s, with room for %s\n", p.DataDir, humanize.Bytes(uint64(p.Free)))
	b.WriteString("not moved members and alarms: the new cluster has its own\n")
	for _, warning := range p.Warnings {
		fmt.Fprintf(&b, "note      %s\n", warning)
	}
	for _, obstacle := range p.Obstacles {
		fmt.Fprintf(&b, "OBSTACLE  %s\n", obstacle)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
