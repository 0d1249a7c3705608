  -- The token bucket and the leaky bucket: one backlog, read from two sides.
  --
  -- A request of cost c adds c·W to the backlog, which drains by N each microsecond; B·W is the most it
  -- holds. It is kept as whole tokens and a part of one, `tokens`·W + `part` with `part` < W: so the
  -- numbers stay small, and a limit that is replaced keeps the tokens that are taken.
  if kind == 3 or kind == 5 then
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

    local tokens, part, at, unit = 0, 0, now, window
    if value then
      tokens, part, at, unit = struct.unpack('>dddd', value, 2)
      if not (is_whole(tokens) and is_whole(part) and is_whole(at) and is_whole(unit)
        and part < unit and unit <= 1000000000000000) then
        return nil, i .. ': a number of its bucket is out of range'
      end
    end

    -- is_ahead, advance
    ahead = ahead or at > now
    if unit ~= window and part > 0 then
      -- As many tokens in the unit of another window, rounded up.
      local whole, over = mul_div(part, window, unit)
      part = over > 0 and whole + 1 or whole
      if part == window then
        tokens, part = tokens + 1, 0
      end
    end
    if at < now and (tokens > 0 or part > 0) then
      local gone, part_gone = mul_div(now - at, limit, window)
      tokens, part = less(tokens, part, gone, part_gone, window)
    end
    if tokens >= capacity then
      tokens, part = capacity, 0
    end
    -- It is now's, also when the clock stepped back: nothing drained, nothing lost.

    -- decide
    if asks then
      local over = tokens + cost - capacity
      if over > 0 or over == 0 and part > 0 then
        allowed, wait = false, drain_time(over, part, limit, window)
      elseif kind == 5 and (tokens > 0 or part > 0) then
        wait = drain_time(tokens, part, limit, window)
      end
    end

    -- refund: what has not drained yet of the charge. It stood at the end of the queue, so that it is
    -- the last to drain of the backlog that its receipt names.
    if refunds then
      if mark >= 0 and now > mark then
        local gone, part_gone = mul_div(now - mark, limit, window)
        level, rest = less(level, rest, gone, part_gone, window)
      end
      if mark < 0 or level >= cost then
        level, rest = cost, 0
      end
      tokens, part = less(tokens, part, level, rest, window)
    end

    admitted, reply = settle(i + 1, admitted and allowed)
    if admitted == nil then
      return nil, reply
    end

    -- charge
    charges = admitted and acquires
    if charges then
      tokens, mark = tokens + cost, now
      level_hi, level_lo = product(tokens, window)
      level_lo = level_lo + part
    end

    -- standing, lifetime
    remaining = capacity - tokens - (part > 0 and 1 or 0)
    lifetime = drain_time(tokens, part, limit, window)
    format, a, b, c, d = '>Bdddd', tokens, part, now, window
  end
