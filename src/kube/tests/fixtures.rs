//! Larger samples: an export with reports of the agent, and one with bad objects of every kind.
