// Package result composes reports and hands them to hospitals: one report per request, released in a gap-free sequence per
// facility, read by polling from a time or a cursor. It writes no SQL and speaks no HTTP.
//
// Data path: Compose (inside the release transaction) → Service.Poll → Store.Released.
package result
