package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sextant/internal/clidoc"
	"sextant/internal/goldens"
	"sextant/pkg/bench"
)

var _ = flag.Bool("update", false, "write the pages under docs anew")

// documents are what --json prints, by the command.
var documents = []clidoc.Document{
	{Title: "what a machine offers", Commands: []string{"worker info --json"}, Value: infoView{}},
	{Title: "how fast a model is", Commands: []string{"worker bench MODEL --json"}, Value: bench.Report{}},
	{Title: "logits", Commands: []string{"worker logits MODEL --ids IDS --json"}, Value: logitsView{}},
	{Title: "tokens", Commands: []string{"worker tokenize MODEL --text TEXT --json"}, Value: tokensView{}},
	{Title: "a quantized model", Commands: []string{"worker quantize SPEC --out DIR"}, Value: quantizedView{}},
}

var manSections = []clidoc.Section{
	{Title: "ENVIRONMENT", Text: "`SEXTANT_CUDA_LIB`, `SEXTANT_CUBLASLT`, `SEXTANT_CUDA_SYNC`\n: the library of CUDA kernels, that of cuBLASLt, and whether each launch " +
		"is waited for\n\n" +
		"`SEXTANT_PACK_DIR`\n: the directory in a tmpfs where workers of a machine share packed weights; `off`: they do not\n\n" +
		"`SEXTANT_S3_PROFILES`, `SEXTANT_CACHE_DIR`, `SEXTANT_CACHE_LIMIT`\n: of object stores: profiles, and the cache that a node's jobs share\n\n" +
		"`SEXTANT_SOCKET_IFNAME`, `NCCL_SOCKET_IFNAME`\n: the network interface by which the processes of one worker talk"},
	{Title: "SEE ALSO", Text: "`submit`(1)"},
}

// TestDocs holds the pages under docs to the commands. make docs writes them anew.
func TestDocs(t *testing.T) {
	root := filepath.Join("..", "..")
	tree := clidoc.Commands(program(io.Discard, io.Discard))
	goldens.Part(t, filepath.Join(root, "docs", "cli.md"), "worker", clidoc.Markdown(tree))
	goldens.Whole(t, filepath.Join(root, "docs", "man", "worker.1"), clidoc.Man(tree, 1, "sextant", manSections))
	tables, fields, err := clidoc.Schema(documents, os.DirFS(root), "sextant")
	if err != nil {
		t.Fatal(err)
	}
	goldens.Part(t, filepath.Join(root, "docs", "json.md"), "worker", tables)
	goldens.Kept(t, filepath.Join("testdata", "json-fields.txt"), fields) // a line is only taken out with a greater version
}

// TestEveryCommandHelps wants of each command an example that calls it, and what else clidoc.Lacking does.
func TestEveryCommandHelps(t *testing.T) {
	tree := clidoc.Commands(program(io.Discard, io.Discard))
	for _, text := range clidoc.Lacking(tree, documents) {
		t.Error(text)
	}
	for _, c := range tree {
		if len(c.Examples) > 0 && c.Depth > 0 && !strings.HasPrefix(c.Examples[0]+" ", c.Name+" ") {
			t.Errorf("%s has an example of something else: %s", c.Name, c.Examples[0])
		}
	}
}
