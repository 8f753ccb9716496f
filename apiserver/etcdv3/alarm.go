package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Alarms lists, raises and takes back alarms.
type Alarms interface {
	Alarm(context.Context, *pb.AlarmRequest) (*pb.AlarmResponse, error)
}

// Alarm lists the alarms of a type, or of all with NONE, raises one for a member, or takes it back. An answer to
// a change has the alarm that was raised, or was taken back; none if there was nothing to take back.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	return answer(s.store.Alarm(ctx, r))
}

// alarmTexts are alarms as etcd's Status has them among its errors.
func alarmTexts(alarms []*pb.AlarmMember) []string {
	texts := make([]string, len(alarms))
	for i, a := range alarms {
		texts[i] = a.String()
	}
	return texts
}
