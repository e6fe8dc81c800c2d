// Command tlog does with golang.org/x/mod/sumdb/tlog what the benchmark does: it goes over a log in
// a folder, and verifies one inclusion path again and again. It prints what a second of CPU time is
// enough for.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/mod/sumdb/tlog"
)

const pathsVerified = 50000

// A tree is what a checkpoint says of one.
type tree struct {
	size int64
	root tlog.Hash
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(log, proof string) error {
	note, err := os.ReadFile(filepath.Join(log, "checkpoint"))
	if err != nil {
		return err
	}
	head, err := parse(string(note))
	if err != nil {
		return err
	}
	before := cpu()
	if err := audit(log, head); err != nil {
		return err
	}
	entries := float64(head.size) / (cpu() - before)
	text, err := os.ReadFile(proof)
	if err != nil {
		return err
	}
	before = cpu()
	if err := verify(string(text)); err != nil {
		return err
	}
	paths := pathsVerified / (cpu() - before)
	fmt.Printf("{\"entries_per_s\": %f, \"paths_per_s\": %f}\n", entries, paths)
	return nil
}

// cpu is the time that this process has used, in seconds.
func cpu() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	micros := used.Utime.Sec*1000000 + int64(used.Utime.Usec)
	micros += used.Stime.Sec*1000000 + int64(used.Stime.Usec)
	return float64(micros+1) / 1e6
}

func parse(note string) (tree, error) {
	lines := strings.SplitN(note, "\n", 4)
	if len(lines) < 4 {
		return tree{}, errors.New("not a checkpoint")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tree{size, root}, err
}

// audit hashes every entry, compares it with its tile, and computes the root.
func audit(log string, head tree) error {
	var peaks []tlog.Hash
	size := int64(0)
	for n := int64(0); n*256 < head.size; n++ {
		width := head.size - n*256
		if width > 256 {
			width = 256
		}
		name := strings.TrimPrefix(tlog.Tile{H: 8, L: 0, N: n, W: int(width)}.Path(), "tile/8/0/")
		bundle, err := os.ReadFile(filepath.Join(log, "tile/entries", name))
		if err != nil {
			return err
		}
		stored, err := os.ReadFile(filepath.Join(log, "tile/0", name))
		if err != nil {
			return err
		}
		for len(bundle) >= 2 && len(stored) >= 32 {
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			hash := tlog.RecordHash(bundle[2:end])
			if !bytes.Equal(hash[:], stored[:32]) {
				return fmt.Errorf("entry %d differs from its tile", size)
			}
			bundle, stored = bundle[end:], stored[32:]
			for above := size; above&1 == 1; above >>= 1 {
				hash = tlog.NodeHash(peaks[len(peaks)-1], hash)
				peaks = peaks[:len(peaks)-1]
			}
			peaks = append(peaks, hash)
			size++
		}
	}
	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(peaks[i], root)
	}
	if size != head.size || root != head.root {
		return errors.New("the root is not that of the entries")
	}
	return nil
}

// verify checks the path of a C2SP tlog-proof again and again.
func verify(text string) error {
	parts := strings.SplitN(text, "\n\n", 2)
	if len(parts) < 2 {
		return errors.New("not a proof")
	}
	head, err := parse(parts[1])
	if err != nil {
		return err
	}
	var entry []byte
	var path tlog.RecordProof
	index := int64(0)
	for _, line := range strings.Split(parts[0], "\n")[1:] {
		if extra := strings.TrimPrefix(line, "extra "); extra != line {
			entry, err = base64.StdEncoding.DecodeString(extra)
		} else if number := strings.TrimPrefix(line, "index "); number != line {
			index, err = strconv.ParseInt(number, 10, 64)
		} else {
			var hash tlog.Hash
			hash, err = tlog.ParseHash(line)
			path = append(path, hash)
		}
		if err != nil {
			return err
		}
	}
	leaf := tlog.RecordHash(entry)
	for i := 0; i < pathsVerified; i++ {
		if err := tlog.CheckRecord(path, head.size, head.root, index, leaf); err != nil {
			return err
		}
	}
	return nil
}
