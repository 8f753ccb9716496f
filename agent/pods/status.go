package pods

import (
	"cmp"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// publish hands what is known of the pod to the API server.
func (w *worker) publish(pod *corev1.Pod, state *runtimeState) {
	w.m.statuses.set(pod, w.status(pod, state))
}

// status describes the pod in the API's terms.
func (w *worker) status(pod *corev1.Pod, state *runtimeState) *corev1.PodStatus {
	if w.rejection != nil {
		return &corev1.PodStatus{
			Phase: corev1.PodFailed, Reason: w.rejection.reason, Message: "Pod was rejected: " + w.rejection.message,
			StartTime: stamp(w.startTime), QOSClass: qosClass(pod), Conditions: pod.Status.Conditions,
		}
	}
	out := &corev1.PodStatus{
		HostIP: w.m.cfg.NodeIP, HostIPs: []corev1.HostIP{{IP: w.m.cfg.NodeIP}},
		QOSClass: qosClass(pod), ObservedGeneration: pod.Generation,
	}
	if !w.startTime.IsZero() {
		out.StartTime = stamp(w.startTime)
	}
	ip := state.ip()
	if pod.Spec.HostNetwork {
		ip = w.m.cfg.NodeIP
	}
	if ip == "" && pod.DeletionTimestamp != nil {
		ip = pod.Status.PodIP
	}
	if ip != "" {
		out.PodIP, out.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	initialized := true
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := w.containerStatus(pod, c, state, "PodInitializing")
		if sidecar(c) {
			initialized = initialized && ptr.Deref(s.Started, false)
		} else {
			s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
			initialized = initialized && s.Ready
		}
		out.InitContainerStatuses = append(out.InitContainerStatuses, s)
	}
	waitingReason := "ContainerCreating"
	if len(pod.Spec.InitContainers) > 0 && !initialized {
		waitingReason = "PodInitializing"
	}
	for i := range pod.Spec.Containers {
		s := w.containerStatus(pod, &pod.Spec.Containers[i], state, waitingReason)
		initialized = initialized || s.ContainerID != "" // init containers of the past may have been removed
		out.ContainerStatuses = append(out.ContainerStatuses, s)
	}
	out.Phase, out.Reason, out.Message = w.verdict(pod, state, initialized)
	out.Conditions = conditions(pod, out, initialized, w.m.clock.Now())
	return out
}

func stamp(t time.Time) *metav1.Time { return ptr.To(metav1.NewTime(t).Rfc3339Copy()) }

func fromNano(n int64) metav1.Time {
	if n == 0 {
		return metav1.Time{}
	}
	return metav1.NewTime(time.Unix(0, n)).Rfc3339Copy()
}

func (m *Manager) containerID(id string) string { return "ctlplane://" + id }

func (w *worker) containerStatus(pod *corev1.Pod, c *corev1.Container, state *runtimeState, waitingReason string) corev1.ContainerStatus {
	runs := state.containers[c.Name]
	out := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: ptr.To(false)}
	if len(runs) == 0 {
		known := knownStatus(pod, c.Name)
		if known != nil && known.State.Terminated != nil && terminal(pod) {
			return *known // the runtime has lost it since
		}
		if known != nil {
			out.RestartCount, out.LastTerminationState = known.RestartCount, known.LastTerminationState
		}
		out.State.Waiting = w.whyWaiting(c.Name, waitingReason)
		return out
	}
	run := runs[0]
	out.ContainerID, out.ImageID = w.m.containerID(run.GetId()), run.GetImageId()
	out.RestartCount = int32(run.GetMetadata().GetAttempt())
	if len(runs) > 1 && runs[1].exited() {
		out.LastTerminationState.Terminated = w.terminated(runs[1])
	}
	switch run.State {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		out.State.Running = &corev1.ContainerStateRunning{StartedAt: fromNano(run.GetStartedAt())}
		out.Started = ptr.To(w.startedUp(run.GetId()))
		out.Ready = w.readyNow(run.GetId())
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		ended := w.terminated(run)
		if _, ok := w.waiting[c.Name]; ok && pod.DeletionTimestamp == nil {
			out.State.Waiting = w.whyWaiting(c.Name, waitingReason)
			out.LastTerminationState.Terminated = ended
		} else {
			out.State.Terminated = ended
		}
	default:
		out.State.Waiting = w.whyWaiting(c.Name, waitingReason)
	}
	return out
}

func (w *worker) whyWaiting(name, standard string) *corev1.ContainerStateWaiting {
	if why, ok := w.waiting[name]; ok {
		if why.reason == "ContainerCreating" {
			return &corev1.ContainerStateWaiting{Reason: standard}
		}
		return &corev1.ContainerStateWaiting{Reason: why.reason, Message: why.message}
	}
	return &corev1.ContainerStateWaiting{Reason: standard}
}

func (w *worker) terminated(run containerState) *corev1.ContainerStateTerminated {
	reason := run.GetReason()
	if reason == "" {
		reason = map[bool]string{true: "Completed", false: "Error"}[run.GetExitCode() == 0]
	}
	message := run.GetMessage()
	if text := terminationMessage(run); text != "" {
		message = text
	}
	// A command that could not be executed has no time of its start: that and its end are one.
	finished := cmp.Or(run.GetFinishedAt(), run.GetStartedAt(), run.GetCreatedAt())
	return &corev1.ContainerStateTerminated{
		ExitCode: run.GetExitCode(), Reason: reason, Message: message, ContainerID: w.m.containerID(run.GetId()),
		StartedAt: fromNano(cmp.Or(run.GetStartedAt(), finished)), FinishedAt: fromNano(finished),
	}
}

const (
	maxTerminationMessage = 4096
	maxMessageFromLog     = 2048
	maxLinesFromLog       = 80
)

// terminationMessage is what a run left to say why it ended: its message file, or, where the container asks for
// that, the end of its log.
func terminationMessage(run containerState) string {
	text := tail(run.GetAnnotations()[annotationMessagePath], maxTerminationMessage)
	if text != "" || run.GetExitCode() == 0 ||
		run.GetAnnotations()[annotationMessagePolicy] != string(corev1.TerminationMessageFallbackToLogsOnError) {
		return text
	}
	return endOfLog(tail(run.GetLogPath(), 4*maxMessageFromLog))
}

// endOfLog is the text of the last entries of a log in CRI's format, without the end of the last line.
func endOfLog(log string) string {
	entries := strings.Split(strings.TrimRight(log, "\n"), "\n")
	var b strings.Builder
	for _, entry := range entries[max(len(entries)-maxLinesFromLog, 0):] {
		fields := strings.SplitN(entry, " ", 4) // time, stream, tag, text
		if len(fields) < 4 {
			b.WriteString(entry + "\n")
			continue
		}
		b.WriteString(fields[3])
		if fields[2] != string(runtimeapi.LogTagPartial) {
			b.WriteByte('\n')
		}
	}
	text := strings.TrimRight(b.String(), "\n")
	return text[max(len(text)-maxMessageFromLog, 0):]
}

// tail is the end of a file; empty when it can't be read.
func tail(path string, limit int64) string {
	if path == "" {
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text := make([]byte, min(info.Size(), limit))
	n, _ := file.ReadAt(text, info.Size()-int64(len(text)))
	return strings.ToValidUTF8(string(text[:n]), "�")
}

// verdict sums the pod up. Once it has failed or succeeded, whoever said so, that stays.
func (w *worker) verdict(pod *corev1.Pod, state *runtimeState, initialized bool) (phase corev1.PodPhase, reason, message string) {
	if terminal(pod) {
		return pod.Status.Phase, pod.Status.Reason, pod.Status.Message
	}
	if len(state.running()) == 0 && w.exceeded(pod, state) {
		return corev1.PodFailed, reasonDeadlineExceeded, messageDeadlineExceeded
	}
	return phaseOf(pod, state, initialized), "", ""
}

// phaseOf is the phase of a pod as its containers are. It has not ended before all of them have.
func phaseOf(pod *corev1.Pod, state *runtimeState, initialized bool) corev1.PodPhase {
	ended := len(state.running()) == 0 && (finished(pod, state) || pod.DeletionTimestamp != nil && allExited(pod, state))
	if ended {
		if initFailed(pod, state) {
			return corev1.PodFailed
		}
		for i := range pod.Spec.Containers {
			if state.newest(pod.Spec.Containers[i].Name).GetExitCode() != 0 {
				return corev1.PodFailed
			}
		}
		return corev1.PodSucceeded
	}
	if !initialized {
		return corev1.PodPending
	}
	for i := range pod.Spec.Containers {
		if run := state.newest(pod.Spec.Containers[i].Name); !run.running() && !run.exited() {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

func allExited(pod *corev1.Pod, state *runtimeState) bool {
	for i := range pod.Spec.Containers {
		if !state.newest(pod.Spec.Containers[i].Name).exited() {
			return false
		}
	}
	return true
}
