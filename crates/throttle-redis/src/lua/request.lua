-- The request. script.rs documents the layout of the arguments and of the answer. Names in capitals are
-- replaced by the numbers of algorithms and the flags of states, from core's table.
--
-- Redis runs the whole script for each request, and each function and table that it creates costs time. So
-- there are few functions and no tables. `acquire` is one function with a branch for each algorithm, and the
-- sections of a branch have the names of the corresponding functions in core.

local acquires, refunds = ARGV[1] == 'acquire', ARGV[1] == 'refund'

local now, ttl_margin
if ARGV[2] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  ttl_margin = 1 -- ms: the server counts a lifetime from the start of the script
else
  now = tonumber(ARGV[2])
  ttl_margin = 60000 -- ms: keys must not expire early if the server's clock runs faster than the limiter's
end

-- Returns whether a stored double is an integer that doubles represent exactly. NaN, infinities, negative
-- numbers and fractions are not.
local function is_whole(number)
  return number >= 0 and number < 9007199254740992 and number % 1 == 0
end
