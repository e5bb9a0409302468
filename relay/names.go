package relay

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidings-go/tidings"
)

// A handler's own queues have its name and one of these suffixes. No event and
// no handler may have a name that ends in one of them: processes do not know
// each other's names, and an event would end up in the queue of a handler.
const (
	retryQueue = ".retry" // messages to retry
	deadQueue  = ".dead"  // dead letters
)

// aName matches the names that [Broker.Topic] must accept.
var aName = regexp.MustCompile(`^[A-Za-z0-9._/:-]*$`)

// checkName returns an error for the name of an event or a handler that is not
// valid, or is reserved for queues.
func (r *Relay) checkName(what, name string) error {
	full := r.config.prefix + name
	if name == "" || !aName.MatchString(name) {
		return fmt.Errorf("relay: %s %q is used in the names of topics and queues: it may only contain letters, digits and ._/:-", what, name)
	}
	return checkReserved(fmt.Sprintf("%s %q", what, name), full)
}

func checkReserved(what, name string) error {
	for _, suffix := range []string{retryQueue, deadQueue} {
		if handler, ok := strings.CutSuffix(name, suffix); ok {
			return fmt.Errorf("relay: %s has the same topic as the queue for the retries or dead letters of a handler %q: choose a name that does not end in %s", what, handler, suffix)
		}
	}
	return nil
}

// topicOf returns the topic of the events of that name, without checking it.
func (r *Relay) topicOf(event string) string {
	if topic, ok := r.topics.Load(event); ok {
		return topic.(string)
	}
	return r.ruleOf(event)
}

func (r *Relay) ruleOf(event string) string {
	if r.config.topics != nil {
		return r.config.topics(event)
	}
	return r.broker.Topic(r.config.prefix + event)
}

// topicFor returns the topic of events of a registered name: the same each
// time, even if the rule of [WithTopics] does not.
func (r *Relay) topicFor(event string) (string, error) {
	if topic, ok := r.topics.Load(event); ok {
		return topic.(string), nil
	}
	topic := r.ruleOf(event)
	if err := r.checkTopic(event, topic); err != nil {
		return "", err
	}
	actual, _ := r.topics.LoadOrStore(event, topic)
	return actual.(string), nil
}

// checkTopic returns an error if the events of that name cannot have the topic.
func (r *Relay) checkTopic(event, topic string) error {
	if r.config.topics != nil {
		if topic == "" || !utf8.ValidString(topic) || strings.ContainsFunc(topic, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
			return fmt.Errorf("relay: the function of WithTopics returns %q for the event %q: a topic must not be empty or contain spaces", topic, event)
		}
		if err := checkReserved(fmt.Sprintf("the event %q, by the function of WithTopics,", event), topic); err != nil {
			return err
		}
	} else {
		if err := r.checkName("the event", event); err != nil {
			return err
		}
		for _, other := range r.registry.Registrations() {
			if other.Name != event && r.ruleOf(other.Name) == topic {
				return fmt.Errorf("relay: the events %q and %q would both have the topic %q, by the rule of %T: rename one, or use WithTopics if they should share it", event, other.Name, topic, r.broker)
			}
		}
	}
	r.mu.Lock()
	consumers := slices.Collect(maps.Values(r.consumers))
	r.mu.Unlock()
	for _, c := range consumers {
		if err := c.checkEvent(event, topic); err != nil {
			return err
		}
	}
	return nil
}

// checkEvent returns an error if the topic of an event is a queue of the
// handler.
func (c *consumer) checkEvent(event, topic string) error {
	if topic != c.retryTopic && topic != c.deadTopic {
		return nil
	}
	eventType, _ := c.relay.registry.TypeOf(event)
	return fmt.Errorf("relay: the event %q (%v) has the topic %q, which is a queue of the handler %q, subscribed at %s: rename one of them", event, eventType, topic, c.Name, c.place())
}

// check returns an error for a new handler whose name is not valid, or whose
// queues would have the topic of an event.
func (c *consumer) check() error {
	if err := c.relay.checkName("the handler", c.Name); err != nil {
		return err
	}
	var errs []error
	for _, info := range c.relay.registry.Registrations() {
		errs = append(errs, c.checkEvent(info.Name, c.relay.topicOf(info.Name)))
	}
	return errors.Join(errs...)
}

// checkOther returns an error if another handler would share queues with c.
func (c *consumer) checkOther(other *consumer) error {
	switch {
	case other.stopping():
		return nil
	case other.Name == c.Name:
		return fmt.Errorf("relay: a handler or a Receive has the name %q already, subscribed at %s: a second one, at %s, would have the same queues", c.Name, other.place(), c.place())
	case other.ownTopic == c.ownTopic || other.retryTopic == c.retryTopic || other.deadTopic == c.deadTopic:
		return fmt.Errorf("relay: the handlers %q, at %s, and %q, subscribed at %s, would have the same queues, by the rule of %T: rename one", c.Name, c.place(), other.Name, other.place(), c.relay.broker)
	}
	return nil
}

// topicOfHandler returns the name at the broker for a handler or one of its
// queues.
func (r *Relay) topicOfHandler(handler string) string {
	return r.broker.Topic(r.config.prefix + handler)
}

// registeredName returns the name of an event type that is a struct.
func (r *Relay) registeredName(eventType reflect.Type) (string, error) {
	name, ok := r.registry.NameOf(reflect.Zero(eventType).Interface().(tidings.Event))
	if !ok {
		return "", fmt.Errorf("relay: %s is %w: tidings.Register[%[1]s](registry, \"…\", 1)", eventType, tidings.ErrUnregistered)
	}
	if _, err := r.topicFor(name); err != nil {
		return "", err
	}
	return name, nil
}

// place returns the file and line where the handler was subscribed.
func (c *consumer) place() string {
	info := c.Subscription.Info()
	return fmt.Sprintf("%s:%d", info.File, info.Line)
}
