// Package faulttest has the tests of what becomes of events when brokers stop
// and processes die: a shop with a database and an outbox on one side, a
// handler behind an inbox with a database of its own on the other, and a broker
// between them. It is a module of its own, so that nobody who uses a broker
// needs the others.
package faulttest
