package registry

// QueueLimit is how many changes a watcher that is not read can hold, but for its channel.
const QueueLimit = queueLimit + takeLimit
