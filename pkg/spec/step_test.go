package spec

import (
	"strings"
	"testing"
)

func TestStep(t *testing.T) {
	for _, c := range []struct {
		path, series string
		step         int64
	}{
		{"/ckpt/my-7b/step4000", "/ckpt/my-7b", 4000},
		{"/ckpt/my-7b/step4000/", "/ckpt/my-7b", 4000},
		{"/ckpt/my-7b/step4000/hf", "/ckpt/my-7b/hf", 4000},
		{"checkpoint-500", "", 500},
		{"out/checkpoint-500", "out", 500},
		{"/m/iter_0001000", "/m", 1000},
		{"/m/global_step1200", "/m", 1200},
		{"/m/globalstep_1200", "/m", 1200},
		{"/m/epoch_3", "/m", 3},
		{"/m/epoch=3-step=4000.ckpt", "/m/ckpt", 4000},
		{"/m/step=4000-epoch=3", "/m", 4000},
		{"/m/my-epoch=3-step=4000", "/m/my", 4000},
		{"0331/1006_pr/5499/", "0331/1006_pr", 5499},
		{"my-7b-step-2k", "my-7b", 2000},
		{"my-7b-step1.5k-hf", "my-7b-hf", 1500},
		{"my-7b-Step10000-SFT", "my-7b-SFT", 10000},
		{"olmo/step1000-tokens4B", "olmo", 1000},
		{"olmo/stage1-step1000-tokens4B", "olmo/stage1", 1000},
		{"team:s3://bucket/runs/a/step100/", "team:s3://bucket/runs/a", 100},
		{"/m/ckpt/0", "/m/ckpt", 0},
		{"/m/train_step_7", "/m", 7},
		{"/llama-7b/checkpoint_7", "/llama-7b", 7},
	} {
		series, step, ok := Step(c.path)
		if !ok || series != c.series || step != c.step {
			t.Errorf("%q is step %d of %q (%v), want %d of %q", c.path, step, series, ok, c.step, c.series)
		}
	}
}

func TestNoStep(t *testing.T) {
	for _, path := range []string{
		"", "/", "llama-7b", "/models/llama-7b/", "pocket-4bit", "Qwen2-1.5B", "Qwen2.5-0.5B-Instruct", "Meta-Llama-3-8B", "internlm2_5-7b-chat",
		"llama-7b/20240331", "runs/20260714_101500-3f2a9c1b", "gpt2", "checkpoint-7b", "step-7B", "stepwise-3", "overstep-3", "arbiter_3", "my-7b-300B-tokens",
		"my-7b-tokens300B", "step", "checkpoint", "step1.5", "step-1.5v", "/step100/a/b", "/5499/hf", "step99999999999999999999", "w4a16", "v0.3",
		"models--org--name/snapshots/1234567890123456789012345678901234567890",
	} {
		if series, step, ok := Step(path); ok {
			t.Errorf("%q is step %d of %q", path, step, series)
		}
	}
}

// FuzzStep: whatever the path, what is found is a step that was written there, and no path becomes longer.
func FuzzStep(f *testing.F) {
	f.Add("/m/epoch=3-step=4000.ckpt")
	f.Add("a/step1/step2/")
	f.Fuzz(func(t *testing.T, path string) {
		series, step, ok := Step(path)
		if !ok && (series != "" || step != 0) || step < 0 || len(series) > len(path) {
			t.Errorf("%q is step %d of %q (%v)", path, step, series, ok)
		}
		if ok && !strings.ContainsAny(path, "0123456789") {
			t.Errorf("%q has no number and is step %d", path, step)
		}
	})
}
