// Package pickle finds the tensors in files that torch.save wrote (.pth, .bin) without executing anything. Such a file holds a pickle, which is
// a program for a stack machine that may call any function of Python. This package has a machine of its own (machine.go) that knows the
// instructions and the few names that a dictionary of tensors needs and refuses all others by name, with limits on what a file can cost. No
// value of a file is ever a file name, a command or code here.
//
// What comes out is where each tensor lies: its values are neither read nor copied. Formats: the zip archive of torch 1.6 and later
// (torch/serialization.py), whose entries must be stored as they are, and the one before it (legacy.go).
package pickle
