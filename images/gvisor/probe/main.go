// Nothing that an engine could run is smaller: it says how much memory its kernel believes to have.
package main

import (
	"os"
	"strings"
)

func main() {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		os.Exit(1)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	os.Stdout.WriteString(line + "\n")
}
