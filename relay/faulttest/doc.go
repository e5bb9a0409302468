// Package faulttest tests what happens to events when brokers stop and
// processes die: a shop with a database and an outbox on one side, a handler
// behind an inbox with its own database on the other, and a broker between
// them. It is a module of its own, so that users of one broker do not depend on
// the others.
package faulttest
