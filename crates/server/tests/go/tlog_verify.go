// Command tlog_verify verifies a log with the notes and the Merkle log of Go's checksum database,
// golang.org/x/mod/sumdb. It is given the folder of an export or the address of a served log, the
// log's key, and an earlier checkpoint, and prints a line for each thing that holds. LOG_KEY opens
// the entries of a served log.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// The longest resource, a bundle, is shorter.
const bytesMax = 1 << 25

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(at, vkey, earlier string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	text, err := fetch(at, "checkpoint")
	if err != nil {
		return err
	}
	now, err := open(text, verifier)
	if err != nil {
		return err
	}
	text, err = os.ReadFile(earlier)
	if err != nil {
		return err
	}
	before, err := open(text, verifier)
	if err != nil {
		return err
	}
	fmt.Println("checkpoint", now.N)

	// Every tile that is read is compared with the root that the checkpoint states.
	hashes := tlog.TileHashReader(now, tiles{at})
	proof, err := tlog.ProveTree(now.N, before.N, hashes)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, before.N, before.Hash); err != nil {
		return err
	}
	fmt.Println("consistency", before.N, now.N)

	for n := int64(0); n < now.N; n++ {
		entry, err := entryAt(at, n, now.N)
		if err != nil {
			return err
		}
		path, err := tlog.ProveRecord(now.N, n, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(path, now.N, now.Hash, n, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}
	fmt.Println("inclusion", now.N)
	return nil
}

// fetch reads a resource of the log, from a folder or as it is served.
func fetch(at, name string) ([]byte, error) {
	if !strings.HasPrefix(at, "https://") {
		return os.ReadFile(filepath.Join(at, name))
	}
	request, err := http.NewRequest(http.MethodGet, at+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	if key := os.Getenv("LOG_KEY"); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", name, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, bytesMax))
}

// open reads a checkpoint, which the key has to have signed under its own name.
func open(text []byte, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 3 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// tiles are those of the log, which leaves the height out of their names.
type tiles struct{ at string }

func (t tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		name := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := fetch(t.at, name)
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func entryAt(at string, n, size int64) ([]byte, error) {
	width := size - n/256*256
	if width > 256 {
		width = 256
	}
	tile := tlog.Tile{H: height, L: 0, N: n / 256, W: int(width)}
	name := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/0/", height))
	bundle, err := fetch(at, "tile/entries/"+name)
	if err != nil {
		return nil, err
	}
	for i := int64(0); len(bundle) >= 2; i++ {
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		if end > len(bundle) {
			break
		}
		if i == n%256 {
			return bundle[2:end], nil
		}
		bundle = bundle[end:]
	}
	return nil, fmt.Errorf("entry %d is not in its bundle", n)
}
