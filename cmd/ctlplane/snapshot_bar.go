package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// transferBar draws on a terminal how far a long work has come; anywhere else it is silent.
type transferBar struct{ bar *progressbar.ProgressBar }

func newTransferBar(cmd *cobra.Command, what string) *transferBar {
	out, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return &transferBar{}
	}
	return &transferBar{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetWidth(40),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// tell moves the bar. Drawing on a terminal that went away is no error of the work.
func (b *transferBar) tell(done, total int64) {
	if b.bar == nil {
		return
	}
	if total != b.bar.GetMax64() {
		b.bar.ChangeMax64(total)
	}
	_ = b.bar.Set64(min(done, total))
}

// end takes the bar away. It may be called again.
func (b *transferBar) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}
