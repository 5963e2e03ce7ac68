// Package sandbox runs programs that a language model wrote, confined and bounded in time, memory, processes, output and files.
package sandbox
