// Package archtest holds the house rules that a compiler does not know: which package may import which, what the hospital's agent
// may link, how large a file may grow, and that every name and link in the documents exists. Its tests read the source of the
// whole module, whatever its build tags, and change nothing. A broken rule fails with the place and what to do.
//
// The tables in tables_test.go are the rules; docs/ARCHITECTURE.md explains them.
package archtest
