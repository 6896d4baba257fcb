-- tick(channel, message) publishes the message, and answers how many are subscribed to the
-- channel at this server, without those of a pattern. A server that would not take a hold
-- of the key refuses it.
redis.call('PUBLISH', ARGV[1], ARGV[2])
return redis.call('PUBSUB', 'NUMSUB', ARGV[1])[2]
