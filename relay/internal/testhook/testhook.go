// Package testhook gives package relaytest access to the internals of relay.
package testhook

import "time"

// Broker returns the relay.Broker of a *relay.Relay. Package relay sets it.
var Broker func(relay any) any

// Forget makes the memory broker of that URL delete the queue of a group on a
// topic; the queues of all groups if group is "", and of all topics if topic is
// "". Package relay sets it.
var Forget func(url, topic, group string)

// SetIdle sets how long Redrive of a *relay.Relay waits for the first letter,
// and for each one after it. Package relay sets it.
var SetIdle func(relay any, first, next time.Duration)

// SetDeadAckWait sets the AckWait of the dead letters of a *relay.Relay. Package
// relay sets it.
var SetDeadAckWait func(relay any, d time.Duration)
