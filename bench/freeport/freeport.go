// Package freeport finds addresses for servers that are told where to listen before they start.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// The ports are below those that Linux gives to outgoing connections (32768 on, ip_local_port_range) and below the node
// ports of services (30000 on). So nobody gets one by accident before its server listens, or while that is restarted.
const lowest, end = 10000, 30000

// Addresses returns n addresses of the loopback interface, each host:port, that nobody listens at.
func Addresses(n int) ([]string, error) {
	var all []string
	for tries := 0; len(all) < n; tries++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(end-lowest)))
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) && tries < end-lowest {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("freeport: no free address for a server: %w", err)
		}
		defer listener.Close() // after the loop: none comes twice
		all = append(all, address)
	}
	return all, nil
}
