package main

import (
	"fmt"
	"net"
	"os"
)

// notifySocket is the variable by which systemd says where it waits to be told that a service of Type=notify is ready.
const notifySocket = "NOTIFY_SOCKET"

// notifyReady tells systemd, if that started this process, that it serves.
func notifyReady() error {
	path := os.Getenv(notifySocket)
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd that this service is ready (%s): %w", notifySocket, err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}
