package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// A Machine is where a report was made.
type Machine struct {
	CPU   string
	Cores int
	OS    string
	Go    string
}

// ThisMachine describes the machine that the program runs on. What the system
// does not say where Linux says it, is left at what Go knows.
func ThisMachine() Machine {
	m := Machine{
		CPU:   runtime.GOARCH,
		Cores: runtime.NumCPU(),
		OS:    runtime.GOOS,
		Go:    runtime.Version(),
	}
	if model, ok := field("/proc/cpuinfo", "model name"); ok {
		m.CPU = model + " (" + runtime.GOARCH + ")"
	}
	if name, ok := field("/etc/os-release", "PRETTY_NAME"); ok {
		m.OS = name + " (" + runtime.GOOS + ")"
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s", m.CPU, m.Cores, m.OS, m.Go)
}

// field returns the value of the first line "name: value" or "name=value".
func field(path, name string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false // another system: the caller has a second-best answer
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if i := strings.IndexAny(lines.Text(), ":="); i > 0 && strings.TrimSpace(lines.Text()[:i]) == name {
			return strings.Trim(strings.TrimSpace(lines.Text()[i+1:]), `"`), true
		}
	}
	return "", false
}
