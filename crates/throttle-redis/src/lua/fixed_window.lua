  -- The fixed window: at most N in each of the windows [kW, (k+1)W).
  if kind == FIXED_WINDOW then
    local start, used = 0, 0
    if value then
      start, used = struct.unpack('>dd', value, 2)
      if not (is_whole(start) and is_whole(used) and used <= 999999999999999) then
        return nil, i .. ': a number of its window is out of range'
      end
    end

    -- is_ahead, advance
    if now < start then
      start, ahead = now, true -- the clock stepped back
    elseif used == 0 or now - start >= window then
      -- Never before the start, so that a clock that stepped back does not reopen an earlier window.
      local aligned = now - now % window
      start, used = aligned > start and aligned or start, 0
    end
    local left = start + window - now

    -- decide
    if asks and used + cost > limit then
      allowed, wait = false, left
    end

    -- refund
    if refunds and (charged_at < 0 or charged_at == start) then
      used = used > cost and used - cost or 0
    end

    all_allowed, reply = acquire(i + 1, all_allowed and allowed)
    if all_allowed == nil then
      return nil, reply
    end

    -- charge
    charges = all_allowed and acquires
    if charges then
      used, charged_at = used + cost, start
    end

    -- availability, lifetime
    remaining, lifetime = limit - used, used > 0 and left or 0
    format, a, b, c = '>Bddd', start, used, window
  end
