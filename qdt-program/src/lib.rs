//! What both programs share on their control side: flags, YAML, durations, addresses, logs.
