package etcdconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/ctlplane/ctlplane/logging"
)

// defaultRotation is etcd's.
const defaultRotation = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`

// LogSettings say what is logged, how and where.
type LogSettings struct {
	Level, Format string
	Outputs       []string
	Rotate        bool
	Rotation      string
	logger        string
}

// rotation is how etcd's JSON describes it: megabytes, days, files.
type rotation struct {
	MaxSize    int  `json:"maxsize"`
	MaxAge     int  `json:"maxage"`
	MaxBackups int  `json:"maxbackups"`
	LocalTime  bool `json:"localtime"`
	Compress   bool `json:"compress"`
}

// levels are etcd's; nothing is logged at panic or fatal.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	"panic": slog.LevelError + 4, "fatal": slog.LevelError + 8,
}

// Open makes the logger; what it answers beside that closes its files.
func (l LogSettings) Open(stdout, stderr io.Writer) (*slog.Logger, func() error, error) {
	var outputs []io.Writer
	var files []io.Closer
	closeAll := func() (err error) {
		for _, file := range files {
			err = errors.Join(err, file.Close())
		}
		return err
	}
	for _, output := range l.Outputs {
		switch output {
		case "default", "stderr", "systemd/journal": // the journal takes what is written to standard error
			outputs = append(outputs, stderr)
		case "stdout":
			outputs = append(outputs, stdout)
		default:
			file, err := l.openFile(output)
			if err != nil {
				return nil, nil, errors.Join(fmt.Errorf("--log-outputs: %w", err), closeAll())
			}
			outputs, files = append(outputs, file), append(files, file)
		}
	}
	var out io.Writer = io.MultiWriter(outputs...)
	if len(outputs) == 1 {
		out = outputs[0]
	}
	return slog.New(logging.NewLimiter(l.handler(out))), closeAll, nil
}

func (l LogSettings) handler(out io.Writer) slog.Handler {
	if l.Format == "console" {
		return slog.NewTextHandler(out, &slog.HandlerOptions{Level: levels[l.Level]})
	}
	return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: levels[l.Level], AddSource: true, ReplaceAttr: asEtcd})
}

// asEtcd names the fields of a line as etcd's logs have them, for whoever reads them by machine. What a line is about may
// have fields of the same names, with values of other types.
func asEtcd(groups []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case time.Duration:
		return slog.String(a.Key, value.String())
	case time.Time:
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.String("ts", value.Format("2006-01-02T15:04:05.000000Z0700"))
		}
	case slog.Level:
		if a.Key == slog.LevelKey && len(groups) == 0 {
			return slog.String("level", strings.ToLower(value.String()))
		}
	case *slog.Source:
		file := filepath.Join(filepath.Base(filepath.Dir(value.File)), filepath.Base(value.File))
		return slog.String("caller", file+":"+strconv.Itoa(value.Line))
	}
	return a
}

func (l LogSettings) openFile(path string) (io.WriteCloser, error) {
	if !l.Rotate {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	var r rotation
	if err := json.Unmarshal([]byte(l.Rotation), &r); err != nil {
		return nil, err // validated before
	}
	return &lumberjack.Logger{
		Filename: path, MaxSize: r.MaxSize, MaxAge: r.MaxAge, MaxBackups: r.MaxBackups, LocalTime: r.LocalTime, Compress: r.Compress,
	}, nil
}

func (l LogSettings) validate() error {
	if len(l.Outputs) == 0 {
		return errors.New("--log-outputs names no output: choose stderr, stdout or a file's path")
	}
	if !l.Rotate {
		return nil
	}
	var r rotation
	if err := json.Unmarshal([]byte(l.Rotation), &r); err != nil {
		return fmt.Errorf("--log-rotation-config-json %q can't be read: write it like %s: %w", l.Rotation, defaultRotation, err)
	}
	switch l.Outputs[0] {
	case "default", "stderr", "stdout", "systemd/journal":
		return errors.New("--enable-log-rotation needs a file: name one with --log-outputs")
	}
	if len(l.Outputs) > 1 {
		return errors.New("--enable-log-rotation works with one file: name no more with --log-outputs")
	}
	return nil
}
