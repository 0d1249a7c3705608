-- A key that is shut after a denial: when it opens (0 when it is not shut), and for how long it was
-- shut, so that a clock that steps back cannot extend it.

-- Brings a block to now; returns also whether it was made later than now.
local function advance_block(opens, length)
  local ahead = opens > now + length
  if ahead then
    opens = now + length
  end
  if opens <= now then
    return 0, 0, ahead
  end
  return opens, length, ahead
end

-- Shuts a key for the rule's block, or for the wait if that is longer; for no longer than 31 years.
local function shut(block, wait)
  local span = block > wait and block or wait
  span = span < 1000000000000000 and span or 1000000000000000
  return now + span, span
end

