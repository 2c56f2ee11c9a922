// Command go-peer stands in for the deployed Go programs in the network lab:
//
//	go-peer client -config client.yaml
//	go-peer server -config server.yaml
//
// It is written from what those programs do on the wire and on the host, and
// it keeps their weaknesses, because their peers have to cope with them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"qdt.invalid/go-peer/internal/device"
	"qdt.invalid/go-peer/internal/tunnel"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go-peer client|server -config PATH")
		os.Exit(2)
	}
	role := os.Args[1]
	flags := flag.NewFlagSet("go-peer "+role, flag.ExitOnError)
	path := flags.String("config", role+".yaml", "configuration file")
	_ = flags.Parse(os.Args[2:]) // ends the program itself when it fails

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	var err error
	switch role {
	case "client":
		err = client(ctx, log, *path)
	case "server":
		err = server(ctx, log, *path)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil && ctx.Err() == nil {
		log.Error(role+" error", "err", err)
		os.Exit(1)
	}
}

func client(ctx context.Context, log *slog.Logger, path string) error {
	config, err := tunnel.LoadClientConfig(path)
	if err != nil {
		return err
	}
	run := &tunnel.Client{
		Config: config,
		Device: config.KernelDevice,
		Connected: func(address netip.Prefix, mtu int) {
			log.Info("connected", "ip", address, "mtu", mtu)
		},
		Ended: func(sent, received uint64) {
			log.Info("ended", "fragments_sent", sent, "fragments_received", received)
		},
	}
	return run.Run(ctx)
}

func server(ctx context.Context, log *slog.Logger, path string) error {
	config, err := tunnel.LoadServerConfig(path)
	if err != nil {
		return err
	}
	certificate, err := tunnel.Certificate(config.TLSCert, config.TLSKey)
	if err != nil {
		return err
	}
	pool, err := netip.ParsePrefix(config.PoolCIDR)
	if err != nil {
		return fmt.Errorf("pool_cidr: %w", err)
	}
	gateway := pool.Masked().Addr().Next()
	if config.GatewayIP != "" {
		if gateway, err = netip.ParseAddr(config.GatewayIP); err != nil {
			return fmt.Errorf("gateway_ip: %w", err)
		}
	}
	tun, err := device.OpenTUN(config.TUNName)
	if err != nil {
		return err
	}
	if err := device.Configure(config.TUNName, netip.PrefixFrom(gateway, pool.Bits()), config.MTU); err != nil {
		return errors.Join(err, tun.Close())
	}
	socket, err := net.ListenPacket("udp", config.Addr)
	if err != nil {
		return errors.Join(err, tun.Close())
	}
	log.Info("listening", "addr", socket.LocalAddr())
	run := &tunnel.Server{Config: config, Certificate: certificate, Device: tun, Log: log}
	return run.Run(ctx, socket)
}
