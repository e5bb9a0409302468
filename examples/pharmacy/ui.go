package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"riverqueue.com/riverui"
)

// serveUI serves River UI until stop is called. It asks for no password, so it
// listens on loopback only.
func (p *pharmacy) serveUI(ctx context.Context, address string, out io.Writer) (stop func(), err error) {
	listener, err := listenLoopback(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(p.client, nil),
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err == nil {
		err = ui.Start(ctx)
	}
	if err != nil {
		cancel()
		_ = listener.Close()
		return nil, err
	}
	server := &http.Server{Handler: onlyFromHere(ui), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until it is closed
	}()
	fmt.Fprintf(out, "River UI: http://%s\n", listener.Addr())
	return func() {
		_ = server.Close()
		<-ended
		cancel()
	}, nil
}

// listenLoopback listens at a loopback address, and refuses any other.
func listenLoopback(address string) (net.Listener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-ui: %w", err)
	}
	if !resolved.IP.IsLoopback() {
		return nil, fmt.Errorf("-ui %s: River UI asks for no password: use an address of this machine, such as 127.0.0.1:8080", address)
	}
	return net.ListenTCP("tcp", resolved)
}

// onlyFromHere refuses requests from pages of other sites.
func onlyFromHere(next http.Handler) http.Handler {
	local := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && !ip.IsLoopback() {
			http.Error(w, "this server answers to the names of this machine only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(local)
}
