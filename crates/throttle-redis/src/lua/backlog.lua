-- A bucket's backlog: whole tokens, and a part of one.

-- Returns how long a backlog takes to drain, rounded up to the microsecond.
local function drain_time(tokens, part, limit, window)
  local backlog = tokens * window + part
  if backlog < 9007199254740992 then
    local left = backlog % limit
    return left > 0 and (backlog - left) / limit + 1 or backlog / limit
  end
  local hi, lo = product(tokens, window)
  local whole, left = quotient(hi, lo + part, limit)
  return left > 0 and whole + 1 or whole
end

-- Returns what is left of a backlog when another is taken from it, not below zero.
local function less(tokens, part, by_tokens, by_part, window)
  tokens, part = tokens - by_tokens, part - by_part
  if part < 0 then
    tokens, part = tokens - 1, part + window
  end
  if tokens < 0 then
    return 0, 0
  end
  return tokens, part
end
