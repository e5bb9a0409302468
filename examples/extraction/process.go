package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A process is this program once more, with other arguments.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer // complete after stop
}

// startProcess starts a process, which ends with ctx, with stop, and with this
// process.
func startProcess(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, append(args, "-attached")...)}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.stdout = stdin, bufio.NewReader(stdout)
	p.cmd.Stderr = &p.stderr
	p.cmd.Cancel = stdin.Close // like Ctrl-C, on all systems
	p.cmd.WaitDelay = 15 * time.Second
	return p, p.cmd.Start()
}

// await reads the output of the process up to this line.
func (p *process) await(want string) error {
	last := ""
	for {
		line, err := p.stdout.ReadString('\n')
		if line == want+"\n" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a process ended without saying %q, after %q", want, last)
		}
		last = line
	}
}

// stop ends the process gracefully, and returns the rest of its output.
func (p *process) stop() (rest string, err error) {
	closing := p.stdin.Close()
	text, reading := io.ReadAll(p.stdout)
	if err := p.cmd.Wait(); err != nil {
		return string(text), fmt.Errorf("%w: %s", err, bytes.TrimSpace(p.stderr.Bytes()))
	}
	return string(text), errors.Join(closing, reading)
}

// kill is kill -9.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, p.stdout)
	_ = p.cmd.Wait() // the error is that it was killed
	return nil
}

// output runs this program to its end, and returns its output.
func output(ctx context.Context, args ...string) (string, error) {
	p, err := startProcess(ctx, args...)
	if err != nil {
		return "", err
	}
	text, reading := io.ReadAll(p.stdout)
	_, err = p.stop()
	return string(text), errors.Join(err, reading)
}
