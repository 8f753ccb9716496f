package registry

// QueueLimit is queueLimit for tests.
const QueueLimit = queueLimit
