// Package pipeline runs one model on several devices: its layers are cut into stages (model.Parts), each with a device and the cache of its own
// layers, and passes go through them one behind another. As many passes are under way as keep every stage busy: the engine lays the next ones
// out before the outcomes of those before are there (engine.Runner).
//
// Stages take passes in the order in which they were begun, from first to last. So what a stage's cache holds when a pass comes to it is what
// the passes before it left, and the outcomes are, bit for bit, those of a model on one device. Reserving and freeing the cache goes the same
// way. Between two stages go the hidden states of a pass's tokens, in f32: from GPU to GPU of this process straight (model.Hold), where a copy
// that is tried at the start is right; else through the host's memory.
package pipeline
