-- A key that is shut after a denial: when it blocked_until (0 when it is not shut), and for how long it was
-- shut, so that a clock that steps back cannot extend it.

-- Brings a block to now; returns also whether it was made later than now.
local function advance_block(blocked_until, block_length)
  local ahead = blocked_until > now + block_length
  if ahead then
    blocked_until = now + block_length
  end
  if blocked_until <= now then
    return 0, 0, ahead
  end
  return blocked_until, block_length, ahead
end

-- Shuts a key for the rule's block, or for the wait if that is longer; for no longer than 31 years.
local function start_block(block, wait)
  local span = block > wait and block or wait
  span = span < 1000000000000000 and span or 1000000000000000
  return now + span, span
end

