package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// resolveUser finds the user and groups of a container's process: those that the pod asks for, else the
// image's, by the image's own user and group files.
func resolveUser(rootfs, imageUser string, security *runtimeapi.LinuxContainerSecurityContext) (specs.User, error) {
	name := imageUser
	switch {
	case security.GetRunAsUser() != nil:
		name = strconv.FormatInt(security.GetRunAsUser().GetValue(), 10)
	case security.GetRunAsUsername() != "":
		name = security.GetRunAsUsername()
	}
	if group := security.GetRunAsGroup(); group != nil {
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			name = "0"
		}
		name += ":" + strconv.FormatInt(group.GetValue(), 10)
	}
	passwd, err := readInside(rootfs, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	groups, err := readInside(rootfs, "etc/group")
	if err != nil {
		return specs.User{}, err
	}
	found, err := user.GetExecUser(name, &user.ExecUser{}, strings.NewReader(passwd), strings.NewReader(groups))
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q of the container: %w", name, err)
	}
	out := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	for _, gid := range found.Sgids {
		out.AdditionalGids = append(out.AdditionalGids, uint32(gid))
	}
	for _, gid := range security.GetSupplementalGroups() {
		out.AdditionalGids = append(out.AdditionalGids, uint32(gid))
	}
	return out, nil
}

// maxUserFile bounds the user and group files of an image.
const maxUserFile = 4 << 20

// readInside reads a file of the image, never following a link out of it; empty when there is none.
func readInside(rootfs, name string) (string, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the image's /%s: %w", name, err)
	}
	file, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxUserFile))
	return string(content), err
}
