// Package faulttest tests what happens to events when brokers stop and
// processes die: a shop with a database and an outbox on one side, a handler
// behind an inbox with its own database on the other, and a broker between
// them. And it tests that programs with an adapter of Watermill may be at the
// other end. It is a module of its own, so that users of one broker depend
// neither on the others nor on Watermill.
package faulttest
