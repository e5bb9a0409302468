package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
)

// demonstrate shows with two real processes what happens to some orders.
func demonstrate(ctx context.Context, broker string, out io.Writer) (err error) {
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute) // it takes about ten seconds
	defer cancel()
	dir, err := os.MkdirTemp("", "extraction")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if broker == "" {
		nats, err := startNATS(filepath.Join(dir, "nats"), 0)
		if err != nil {
			return err
		}
		defer stopNATS(nats)
		broker = nats.ClientURL()
	}
	d := &demo{
		out: out, broker: broker,
		prefix:     "demo-" + uuid.NewString()[:8] + ".", // separate from the data of earlier runs
		monolith:   filepath.Join(dir, "monolith.db"),
		fulfilment: filepath.Join(dir, "fulfilment.db"),
	}
	err = errors.Join(d.play(limited), d.stop())
	if ctx.Err() != nil {
		return errors.New("interrupted") // the errors of the processes are a consequence
	}
	return err
}

// A demo has the two processes.
type demo struct {
	out                  io.Writer
	broker, prefix       string
	monolith, fulfilment string // databases
	running              []*process
	said                 bool
}

func (d *demo) play(ctx context.Context) error {
	d.say("Two processes, each with its database, and a broker between them. 20 orders are approved:")
	service, err := d.serveFulfilment(ctx, "-refuse", "O-7")
	if err != nil {
		return err
	}
	monolith, err := d.serveMonolith(ctx, "-orders", "20")
	if err != nil {
		return err
	}
	if err := d.see(monolith, "monolith: 20 orders ready, 20 sent to the broker, 0 to send"); err != nil {
		return err
	}
	if err := d.see(service, "fulfilment: 20 boxes picked, 19 orders shipped"); err != nil {
		return err
	}

	d.say("The carrier refused one order, which is a dead letter now. The others do not wait for it:")
	if err := d.run(ctx, "-letters", "fulfilment.ship"); err != nil {
		return err
	}

	d.say("Both end. The monolith starts again, alone, and 10 more orders are approved:")
	if err := d.stop(); err != nil {
		return err
	}
	if monolith, err = d.serveMonolith(ctx, "-orders", "10"); err != nil {
		return err
	}
	if err := d.see(monolith, "monolith: 30 orders ready, 30 sent to the broker, 0 to send"); err != nil {
		return err
	}

	d.say("The fulfilment starts again, and gets the events that the broker has kept:")
	if service, err = d.serveFulfilment(ctx); err != nil {
		return err
	}
	if err := d.see(service, "fulfilment: 30 boxes picked, 29 orders shipped"); err != nil {
		return err
	}

	d.say("The carrier knows the address now, so the dead letter is redriven:")
	if err := d.run(ctx, "-redrive", "fulfilment.ship"); err != nil {
		return err
	}
	if err := d.see(service, "fulfilment: 30 boxes picked, 30 orders shipped"); err != nil {
		return err
	}
	if err := d.stop(); err != nil {
		return err
	}
	n, err := unbroken(ctx, d.monolith, d.fulfilment)
	d.say(fmt.Sprintf("Both end. Orders whose event is the same in both databases, with its workflow and its cause: %d", n))
	return err
}

func (d *demo) serveMonolith(ctx context.Context, more ...string) (*process, error) {
	args := []string{"-serve", "monolith", "-broker", d.broker, "-prefix", d.prefix, "-db", d.monolith}
	return d.start(ctx, "monolith: running; Ctrl-C stops it", append(args, more...)...)
}

func (d *demo) serveFulfilment(ctx context.Context, more ...string) (*process, error) {
	args := []string{"-serve", "fulfilment", "-broker", d.broker, "-prefix", d.prefix, "-db", d.fulfilment}
	return d.start(ctx, "fulfilment: listening; Ctrl-C stops it", append(args, more...)...)
}

// start starts a process, and waits until it prints that it is ready.
func (d *demo) start(ctx context.Context, ready string, args ...string) (*process, error) {
	p, err := startProcess(ctx, args...)
	if err != nil {
		return nil, err
	}
	d.running = append(d.running, p)
	return p, p.await(ready)
}

// see waits until a process prints this line, and prints it too.
func (d *demo) see(p *process, line string) error {
	if err := p.await(line); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "   %s\n", line)
	return nil
}

// run runs the program once, and prints its output.
func (d *demo) run(ctx context.Context, args ...string) error {
	text, err := output(ctx, append(args, "-broker", d.broker, "-prefix", d.prefix)...)
	for line := range strings.Lines(text) {
		fmt.Fprintf(d.out, "   %s", line)
	}
	return err
}

// say prints the next step, after an empty line unless it is the first.
func (d *demo) say(text string) {
	if d.said {
		fmt.Fprintln(d.out)
	}
	d.said = true
	fmt.Fprintln(d.out, text)
}

// stop stops the running processes, in the reverse order of their start.
func (d *demo) stop() error {
	var errs []error
	for i := len(d.running) - 1; i >= 0; i-- {
		_, err := d.running[i].stop()
		errs = append(errs, err)
	}
	d.running = nil
	return errors.Join(errs...)
}
