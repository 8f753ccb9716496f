package node

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Below these the node is under pressure.
const (
	memoryFloor = 100 << 20 // bytes available
	diskFloor   = 10        // percent available
	processRoom = 10        // percent of process numbers that are free
)

// conditions are the node's conditions, without their times.
func (r *Reporter) conditions(ctx context.Context) []corev1.NodeCondition {
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, memoryPressure, "Memory"),
		pressure(corev1.NodeDiskPressure, func() (bool, error) { return diskPressure(r.cfg.Dir) }, "Disk"),
		pressure(corev1.NodePIDPressure, pidPressure, "PID"),
		r.ready(ctx),
	}
}

func (r *Reporter) ready(ctx context.Context) corev1.NodeCondition {
	if err := r.cfg.Ready(ctx); err != nil {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: err.Error()}
	}
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the agent is posting ready status"}
}

func pressure(kind corev1.NodeConditionType, measure func() (bool, error), what string) corev1.NodeCondition {
	high, err := measure()
	switch {
	case err != nil:
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionUnknown, Reason: "NotMeasured", Message: err.Error()}
	case high:
		return corev1.NodeCondition{Type: kind, Status: corev1.ConditionTrue, Reason: "KubeletHasInsufficient" + what, Message: fmt.Sprintf("the node has little %s left", what)}
	}
	return corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficient" + what, Message: fmt.Sprintf("the node has enough %s", what)}
}

func memoryPressure() (bool, error) {
	memory, err := memoryInfo()
	return memory["MemAvailable"] < memoryFloor, err
}

func diskPressure(dir string) (bool, error) {
	d, err := diskOf(dir)
	return d.available < d.total/100*diskFloor, err
}

func pidPressure() (bool, error) {
	used, limit, err := processes()
	return used > limit-limit/100*processRoom, err
}
